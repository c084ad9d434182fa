//! The shop's services over loopback sockets, as their clients meet them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod faults;
mod orders;
mod process;
mod running;
mod users;
