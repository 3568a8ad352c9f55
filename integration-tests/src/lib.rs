//! reeve-integration-tests
