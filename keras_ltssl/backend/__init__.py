"""Code that depends on the Keras backend. No other folder asks for it."""
