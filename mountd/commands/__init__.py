"""The click commands: parse, call, print. What they do is in the packages below."""
