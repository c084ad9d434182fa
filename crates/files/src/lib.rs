//! Noticing that files changed: configuration, certificates, keys, lists of endpoints.
//!
//! [`FileChanges`] decides what a change is, `places` knows which directories a path leads through,
//! and `events` hears of what happens in them. What the files hold is nobody's business here.

mod changes;
mod events;
mod places;

pub use changes::{FileChanges, settle};
