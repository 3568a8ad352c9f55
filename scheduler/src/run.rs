//! The one place with IO: follows nodes and pods, binds, and tells users.
