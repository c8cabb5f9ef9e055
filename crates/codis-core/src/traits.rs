//! What moving keys depends on in a server, decided once for the mover and for the proxies: they meet at
//! the same keys and must not disagree.

/// What a server says about itself, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerTraits<'a> {
    /// First number of its version; 0 if unreadable.
    pub major: u32,
    /// It knows the SLOTS* commands. False if it was not asked.
    pub slots: bool,
    /// Its `maxmemory-policy`.
    pub policy: &'a str,
}

impl ServerTraits<'_> {
    /// A codis-server 2.8, which moves keys by its own SLOTS* commands. One of version 3.2 has them as well
    /// but needs them no more than any other Redis does.
    pub fn is_native(self) -> bool {
        self.slots && self.major < 3
    }

    /// Whether it can be asked which slaves have a write.
    pub fn has_wait(self) -> bool {
        self.major >= 3
    }

    /// The command that deletes, without holding others up where there is one.
    pub fn unlink(self) -> &'static str {
        if self.major >= 4 { "UNLINK" } else { "DEL" }
    }
}

/// How recently or how often a key was used, which an evicting destination must be told: to it, every
/// key that arrives has just been used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heat {
    /// Not known, or of no use.
    None,
    /// Seconds since its last use.
    Idle,
    /// The counter of an LFU policy.
    Frequency,
}

impl Heat {
    /// What the source can tell and the destination evicts by.
    pub fn between(from: ServerTraits<'_>, to: ServerTraits<'_>) -> Self {
        // OBJECT tells frequencies where the policy is LFU, and idle times only where it is not.
        match (from.policy.ends_with("-lfu"), to.policy.ends_with("-lfu")) {
            _ if from.major < 5 || to.major < 5 => Self::None,
            (true, true) => Self::Frequency,
            (false, false) if to.policy.ends_with("-lru") => Self::Idle,
            _ => Self::None,
        }
    }

    /// The subcommand of OBJECT that tells it, and the option of RESTORE that sets it.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Idle => Some("IDLETIME"),
            Self::Frequency => Some("FREQ"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heat_goes_where_it_is_known_and_used() {
        let heat = |from: &'static str, to: &'static str| {
            let server = |policy| ServerTraits { major: 7, slots: false, policy };
            Heat::between(server(from), server(to)).word()
        };
        assert_eq!(heat("noeviction", "allkeys-lru"), Some("IDLETIME"));
        assert_eq!(heat("allkeys-lfu", "volatile-lfu"), Some("FREQ"));
        for (from, to) in
            [("noeviction", "noeviction"), ("allkeys-lfu", "allkeys-lru"), ("noeviction", "allkeys-lfu")]
        {
            assert_eq!(heat(from, to), None, "{from} to {to}");
        }
        let (old, new) =
            [4, 7].map(|major| ServerTraits { major, slots: false, policy: "allkeys-lru" }).into();
        assert_eq!(Heat::between(old, new), Heat::None);
    }
}
