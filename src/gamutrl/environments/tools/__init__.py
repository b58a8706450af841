"""Tools that an environment lends to the model: `(desk, arguments) -> what comes back`, or a refusal in words."""
