"""Random image layers, and layers that make two views with them."""
