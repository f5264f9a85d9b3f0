"""The command line in a checkout: `python app.py X` is `quietmic X`."""

from quietmic.start import run

if __name__ == "__main__":
    run()
