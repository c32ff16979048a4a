"""The only place where configurations become objects: models, and runs of recipes."""
