//! What a member is for, and what the settings for it mean where the cluster is as it is.

use serde::{Deserialize, Serialize};

use crate::settings::problem::Wrong;
use crate::settings::read::Text;
use crate::settings::values::{one_of, text_serde, text_values};

/// Declares an enum that settings and documents write as a word.
macro_rules! words {
    (
        $(#[doc = $about:literal])+
        $what:literal $Name:ident {
            $( $(#[doc = $doc:literal])+ $Word:ident = $word:literal, )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $Name {
            $( $(#[doc = $doc])+ $Word, )+
        }

        impl $Name {
            /// Every value.
            pub const ALL: &'static [$Name] = &[$($Name::$Word),+];

            /// As settings and documents write it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $( $Name::$Word => $word, )+
                }
            }
        }

        impl std::fmt::Display for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }

        impl Text for $Name {
            fn parse(text: &str) -> Result<$Name, Wrong> {
                let found = $Name::ALL.iter().find(|value| value.word() == text);
                let words = [$(concat!("\"", $word, "\"")),+].join(", ");
                found.copied().ok_or_else(|| one_of(text, $what, &format!("one of {words}")))
            }

            fn show(&self) -> String {
                self.word().to_owned()
            }
        }

        text_values!($Name);
        text_serde!($Name);
    };
}

words! {
    /// What a member is for.
    "role" Role {
        /// Reaches the outside: SIP and media.
        Frontend = "frontend",
        /// Holds accounts.
        Backend = "backend",
    }
}

words! {
    /// `SIP Farm` (S20-S23).
    "farm setting" FarmSetting {
        /// New requests are processed here or relayed to other farm members (S20).
        Member = "member",
        /// Requests are processed where they come in (S21).
        Disabled = "disabled",
        /// Not in the farm; what it sends goes out through farm members (S22).
        Relay = "relay",
        /// As role and cluster have it (S23).
        Auto = "auto",
    }
}

/// What a farm setting comes to ([`FarmSetting::effective`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Farm {
    /// New requests are processed here or relayed to other farm members (S20).
    Member,
    /// Requests are processed where they come in (S21).
    Disabled,
    /// What it sends goes out through farm members (S22).
    Relay,
}

/// What is around a member, as far as `Auto` depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Surroundings {
    /// No cluster.
    Alone,
    /// A cluster in which no other member is available in the farm.
    NoFarm,
    /// A cluster in which another member is: alive, its farm setting comes to `Member`, and it does
    /// not drain.
    Farm,
}

impl FarmSetting {
    /// What this setting comes to. Only `Auto` depends on role and surroundings (S23): an explicit
    /// `Relay` stays one where nobody can send for it, and its requests fail.
    #[must_use]
    pub const fn effective(self, role: Role, around: Surroundings) -> Farm {
        match (self, role, around) {
            (FarmSetting::Member, _, _) => Farm::Member,
            (FarmSetting::Disabled, _, _) | (FarmSetting::Auto, _, Surroundings::Alone) => {
                Farm::Disabled
            }
            (FarmSetting::Relay, _, _) => Farm::Relay,
            (FarmSetting::Auto, Role::Frontend, _) => Farm::Member,
            (FarmSetting::Auto, Role::Backend, Surroundings::Farm) => Farm::Relay,
            (FarmSetting::Auto, Role::Backend, Surroundings::NoFarm) => Farm::Disabled,
        }
    }

    /// Whether a member of a cluster that has this setting is in the farm (S25). Does not depend on
    /// the other members, which those of them that are `Auto` rely on.
    #[must_use]
    pub const fn is_member(self, role: Role) -> bool {
        matches!(self.effective(role, Surroundings::NoFarm), Farm::Member)
    }
}

words! {
    /// Where objects are created: `Call Legs Processing` and `Signal Processing` (S13-S19).
    "place of processing" PlacementSetting {
        /// Here (S14).
        Locally = "locally",
        /// Here, and for others (S15).
        LocallyForOthers = "locally-for-others",
        /// On a member that creates for others (S17).
        Remotely = "remotely",
        /// As role and cluster have it (S18).
        Auto = "auto",
    }
}

/// What a placement setting comes to ([`PlacementSetting::effective`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Placement {
    /// Here (S14).
    Locally,
    /// Here, and for others (S15).
    LocallyForOthers,
    /// On a member that creates for others (S17).
    Remotely,
}

impl PlacementSetting {
    /// What this setting comes to for a member of that role (S18).
    #[must_use]
    pub const fn effective(self, role: Role, in_cluster: bool) -> Placement {
        match (self, role, in_cluster) {
            (PlacementSetting::Locally, _, _) | (PlacementSetting::Auto, _, false) => {
                Placement::Locally
            }
            (PlacementSetting::LocallyForOthers, _, _)
            | (PlacementSetting::Auto, Role::Frontend, true) => Placement::LocallyForOthers,
            (PlacementSetting::Remotely, _, _) | (PlacementSetting::Auto, Role::Backend, true) => {
                Placement::Remotely
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// S20-S23: the whole table.
    #[test]
    fn a_farm_setting_comes_to_what_role_and_cluster_make_of_it() {
        use Farm::{Disabled, Member, Relay};
        use Surroundings::{Alone, Farm as InFarm, NoFarm};
        for (setting, role, alone, no_farm, in_farm) in [
            (FarmSetting::Member, Role::Frontend, Member, Member, Member),
            (FarmSetting::Member, Role::Backend, Member, Member, Member),
            (FarmSetting::Disabled, Role::Frontend, Disabled, Disabled, Disabled),
            (FarmSetting::Disabled, Role::Backend, Disabled, Disabled, Disabled),
            (FarmSetting::Relay, Role::Frontend, Relay, Relay, Relay),
            (FarmSetting::Relay, Role::Backend, Relay, Relay, Relay),
            (FarmSetting::Auto, Role::Frontend, Disabled, Member, Member),
            (FarmSetting::Auto, Role::Backend, Disabled, Disabled, Relay),
        ] {
            for (around, expected) in [(Alone, alone), (NoFarm, no_farm), (InFarm, in_farm)] {
                assert_eq!(
                    setting.effective(role, around),
                    expected,
                    "{setting} {role} {around:?}"
                );
            }
            assert_eq!(setting.is_member(role), no_farm == Member, "{setting} {role}");
        }
    }

    /// S13-S19: the whole table.
    #[test]
    fn a_placement_comes_to_what_role_and_cluster_make_of_it() {
        use Placement::{Locally, LocallyForOthers, Remotely};
        for (setting, role, alone, in_cluster) in [
            (PlacementSetting::Locally, Role::Frontend, Locally, Locally),
            (PlacementSetting::Locally, Role::Backend, Locally, Locally),
            (PlacementSetting::LocallyForOthers, Role::Backend, LocallyForOthers, LocallyForOthers),
            (PlacementSetting::Remotely, Role::Frontend, Remotely, Remotely),
            (PlacementSetting::Auto, Role::Frontend, Locally, LocallyForOthers),
            (PlacementSetting::Auto, Role::Backend, Locally, Remotely),
        ] {
            assert_eq!(setting.effective(role, false), alone, "{setting} {role} alone");
            assert_eq!(setting.effective(role, true), in_cluster, "{setting} {role}");
        }
    }

    #[test]
    fn an_unknown_word_is_told_the_known_ones() {
        let wrong = <FarmSetting as Text>::parse("on").expect_err("no such word");
        assert_eq!(
            wrong.sentence(),
            "unknown farm setting \"on\"; \
             write one of \"member\", \"disabled\", \"relay\", \"auto\""
        );
    }
}
