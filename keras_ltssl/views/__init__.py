"""Random image layers, and the layers that make two views with them."""
