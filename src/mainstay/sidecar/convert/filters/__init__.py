"""HTTP and network filters, a file each; `table` knows them all."""
