"""Which axes of a layer are which axes of the input: told, read by rules, or asked for."""
