//! reeve-client
