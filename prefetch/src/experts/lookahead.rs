//! What is read ahead of a router.

/// On what grounds experts are read before their router has spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Lookahead {
    /// None are.
    Off,
    /// What tokens that were routed alike chose in the next layer.
    Learnt,
    /// The same, and what the next layer's router says of the present hidden state.
    #[default]
    Router,
}

impl Lookahead {
    /// All of them.
    pub const ALL: [Lookahead; 3] = [Lookahead::Off, Lookahead::Learnt, Lookahead::Router];

    /// The name used on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Lookahead::Off => "off",
            Lookahead::Learnt => "learnt",
            Lookahead::Router => "router",
        }
    }
}

impl std::fmt::Display for Lookahead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.name())
    }
}

impl std::str::FromStr for Lookahead {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|l| l.name() == s)
            .ok_or_else(|| format!("unknown lookahead '{s}'; there are off, learnt and router"))
    }
}
