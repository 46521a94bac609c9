//! Real node processes under an operator: lifecycle, quotas, moving chains, bad input, kills.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod bad_input;
mod churn;
mod confined;
mod content;
mod figures;
mod giver;
mod interrupted;
mod lifecycle;
mod quotas;
mod service;
mod supervisor;
mod tour;
mod transfer;
