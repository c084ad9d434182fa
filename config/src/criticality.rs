//! How much a request matters when not all can be served.

use crate::declare::words;

words! {
    /// How much a request matters when a service has more to do than it can
    /// (`limits.adaptive`): the least critical are shed first.
    pub enum Criticality: Default, Hash {
        /// Somebody waits for it and nothing replaces it. Shed last.
        Critical = "critical",
        /// Nothing was said about it.
        Default (default) = "default",
        /// Nobody waits for it, or it can come again later. Shed first.
        Sheddable = "sheddable",
    }
}

impl Criticality {
    /// Every class, the most critical first.
    pub const ALL: [Criticality; 3] = [
        Criticality::Critical,
        Criticality::Default,
        Criticality::Sheddable,
    ];

    /// The class of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Criticality> {
        let mut all = Criticality::ALL.into_iter();
        all.find(|class| class.as_str() == name)
    }
}
