//! What a process says when it ends.

use std::process::{ExitCode, Termination};

/// The exit codes of every binary of Weir; scripts rely on them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Exit {
    /// 0: done, or the answer is yes.
    Fine,
    /// 1: the answer is no: invalid, refused, would be denied, or cut off.
    No,
    /// 2: the question could not be asked: wrong usage, or something is not reachable.
    Unusable,
}

impl Exit {
    /// The number that the shell sees.
    pub const fn code(self) -> u8 {
        match self {
            Self::Fine => 0,
            Self::No => 1,
            Self::Unusable => 2,
        }
    }

    /// Ends the process at once, without running destructors.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where signal handling ends it"
    )]
    pub fn leave(self) -> ! {
        std::process::exit(i32::from(self.code()))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        self.into()
    }
}
