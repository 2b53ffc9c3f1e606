//! Scripted origins on real sockets.
