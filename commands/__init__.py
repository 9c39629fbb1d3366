"""The command line. One file a command group: parse, call one function of a room, print. Nothing else.

Every file here other than `_*.py` is one command or group, found by its file name and holding a click object called
`command`; heavy imports (torch, h5py, cv2) go inside the command functions, so that `avr --help` is instant.
"""
