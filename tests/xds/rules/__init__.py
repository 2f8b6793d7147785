"""A tester of xDS's rules that knows nothing of Mainstay: rules as data, a client that holds them against any server, and a
server that holds them against any client.

`for_servers` and `for_clients` are the rules; `steps` says what their words mean; `client` and `server` carry them out over
gRPC, with messages of their own making (`wire`); `resources` makes what travels. Subjects (whom to test) are in the tests.
"""
