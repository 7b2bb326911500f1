"""Runs the command: `python -m keras_ltssl pretrain photos`."""

from keras_ltssl_command import main

if __name__ == "__main__":
    main()
