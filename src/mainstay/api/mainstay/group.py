"""The API group of Mainstay's own kinds, in one place."""

GROUP = "mainstay.dev"
VERSIONS = ("v1alpha1",)
API_VERSION = f"{GROUP}/{VERSIONS[0]}"
