"""How each family of model acts."""
