"""What gRPC's own library gets, which takes part in the mesh inside the application: Listener, route, Cluster and endpoints in
the shapes it knows (gRFC A27, A29, A36, A41), which are not a sidecar's.

``plan`` says what there is; ``listener`` makes api_listeners for clients and listeners for servers; ``route`` and ``cluster``
what those lead to. Certificates are named by the provider of its bootstrap, whose files an agent of ours keeps.
"""
