"""What of Envoy's configuration is supported, in words: the page, and the reasons why the rest is not."""
