//! The shop: small services behind Weir.
//!
//! Ordinary services as people have them. They know nothing of Weir but the address at which they
//! call each other, and depend on none of its crates. Each is a [`Router`](axum::Router) built by
//! its module and run by [`serve`].

pub mod arguments;
pub mod faults;
pub mod neighbour;
pub mod orders;
pub mod page;
pub mod problem;
pub mod serve;
pub mod shell;
pub mod trace;
pub mod units;
pub mod users;
