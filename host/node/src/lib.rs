//! Runs the chains a node should run
