"""Who is who: SPIFFE identities, trust bundles, the certificate authority, join tokens, and who may do what.

`spiffe`, `bundle`, `renewal` and `join_wire` are loaded by sidecars too, so they know nothing of the cryptography package;
`signer`, `authority`, `tokens`, `join`, `authorise`, `gateway_secrets` and `audit` by the control plane. Knows neither routes
nor xDS.
"""
