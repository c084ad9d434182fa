//! Ending together with the process that started this one, so that `weir up` leaves nothing behind
//! even when it is killed.

/// Why a process cannot be tied to its parent.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// The parent ended before this process could ask to be told: end as well.
    #[error("the process {parent} that started this one is gone")]
    Gone {
        /// Its process id.
        parent: u32,
    },
    /// The system refused; it does so only on kernels that do not know the call.
    #[error("cannot ask to be told when the parent ends: {0}")]
    Refused(nix::Error),
}

/// Lets the system send SIGTERM, which starts a drain, when the parent ends. `parent` is its
/// process id as it told us. Linux sends the signal when the *thread* ends that started this
/// process, so a parent must start processes from a thread that lasts, best the main one.
#[cfg(target_os = "linux")]
pub fn die_with_parent(parent: u32) -> Result<(), ParentError> {
    use nix::sys::signal::Signal;

    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM).map_err(ParentError::Refused)?;
    // The parent may have ended before the call, and then nobody will ever send the signal.
    if u32::try_from(nix::unistd::getppid().as_raw()) != Ok(parent) {
        return Err(ParentError::Gone { parent });
    }
    Ok(())
}

/// Other systems have no such call; the parent ends its children by itself when it can.
#[cfg(not(target_os = "linux"))]
pub fn die_with_parent(_parent: u32) -> Result<(), ParentError> {
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_parent_must_be_the_one_that_was_named() {
        let parent = nix::unistd::getppid().as_raw().unsigned_abs();
        assert!(die_with_parent(parent).is_ok());
        let error = die_with_parent(u32::MAX);
        assert!(
            matches!(error, Err(ParentError::Gone { parent: u32::MAX })),
            "{error:?}"
        );
        assert!(nix::sys::prctl::set_pdeathsig(None).is_ok());
    }
}
