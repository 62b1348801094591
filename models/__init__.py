"""The networks of NeCA, their losses, and the models that train them."""
