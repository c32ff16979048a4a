"""How an image becomes a grid of tokens: a tokenizer and its configuration in each file."""
