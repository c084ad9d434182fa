//! Names of gRPC's status codes.

use crate::declare::words;

words! {
    /// A status of a failed gRPC call, in the order of the numbers, which begin at 1.
    pub enum GrpcStatus: Hash, PartialOrd, Ord {
        /// The caller gave up.
        Cancelled = "cancelled",
        /// Unknown; also what most servers make of an uncaught exception.
        Unknown = "unknown",
        /// The request makes no sense.
        InvalidArgument = "invalid-argument",
        /// It took longer than the caller waits.
        DeadlineExceeded = "deadline-exceeded",
        /// There is no such thing.
        NotFound = "not-found",
        /// There is one already.
        AlreadyExists = "already-exists",
        /// The caller may not.
        PermissionDenied = "permission-denied",
        /// A quota or a limit is used up.
        ResourceExhausted = "resource-exhausted",
        /// The system is not in the state that the call needs.
        FailedPrecondition = "failed-precondition",
        /// The call was given up, often for a conflict with another.
        Aborted = "aborted",
        /// Past the end of what there is.
        OutOfRange = "out-of-range",
        /// There is no such method.
        Unimplemented = "unimplemented",
        /// Something is broken in the service.
        Internal = "internal",
        /// The service cannot be reached now; also a connection that broke.
        Unavailable = "unavailable",
        /// Data was lost.
        DataLoss = "data-loss",
        /// The caller is not known.
        Unauthenticated = "unauthenticated",
    }
}

impl GrpcStatus {
    /// Its number on the wire, 1 to 16.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8 + 1
    }
}

const _: () = assert!(GrpcStatus::Unauthenticated as u8 == 15);
