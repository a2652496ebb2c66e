//! How a settings table is declared once: the same lines give the struct, its reader, its defaults
//! and its part of the commented default file, so that none of them can fall behind another.

use std::fmt;
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::Reader;

/// When a changed key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// For whatever starts after the change.
    Live,
    /// Once the calls that use the old value have ended.
    Drain,
    /// With the next process.
    Restart,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Effect::Live => "live",
            Effect::Drain => "drain",
            Effect::Restart => "restart",
        })
    }
}

/// One key as the default file shows it.
#[derive(Clone, Debug)]
pub struct Key {
    /// Its name within its table.
    pub name: &'static str,
    /// Its documentation, a line each.
    pub docs: Vec<&'static str>,
    /// When a change takes effect; `None` for a table, whose keys say it themselves.
    pub effect: Option<Effect>,
    /// The range of a number.
    pub range: Option<RangeInclusive<u64>>,
    /// Its value.
    pub shape: Shape,
}

/// The value of a key, as TOML.
#[derive(Clone, Debug)]
pub enum Shape {
    /// A value.
    Scalar(String),
    /// No value; one that it might have.
    Absent(&'static str),
    /// A table.
    Table(Vec<Key>),
    /// An array of tables, and what an entry may look like.
    Tables {
        /// The entries.
        entries: Vec<Vec<Key>>,
        /// An example, for when there are no entries.
        example: Vec<Key>,
    },
}

/// A value that a settings text can hold.
pub(crate) trait Value: Sized {
    /// Reads the value at `path`. `None`: it is wrong, and the reader has been told.
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Self>;

    /// The value as TOML.
    fn shape(&self) -> Shape;

    /// What an entry looks like, for types that stand in an array of tables.
    fn example() -> Option<Vec<Key>> {
        None
    }
}

/// A table with known keys; implemented by [`settings_table`] alone.
pub(crate) trait Table: Sized {
    /// Reads each key; those that are wrong or absent get their defaults. `None`: one without a
    /// default is wrong or absent.
    fn read_keys(path: &str, table: &DeTable<'_>, reader: &mut Reader) -> Option<Self>;

    /// The keys with the values of `this`, or with examples.
    fn keys(this: Option<&Self>) -> Vec<Key>;
}

/// Rules about a whole table, beyond those about single values.
pub(crate) trait Rules {
    /// Tells the reader of every rule that does not hold. `path` is where the table stands.
    fn check(&self, path: &str, reader: &mut Reader);
}

impl<T: Table + Rules> Value for T {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<T> {
        let table = reader.table(path, value)?;
        let this = T::read_keys(path, table, reader)?;
        this.check(path, reader);
        Some(this)
    }

    fn shape(&self) -> Shape {
        Shape::Table(T::keys(Some(self)))
    }

    fn example() -> Option<Vec<Key>> {
        Some(T::keys(None))
    }
}

/// Declares a settings table:
///
/// ```text
/// settings_table! {
///     /// What the struct is.
///     section Media {
///         /// What the key means. Becomes the field's documentation and the default file's comment.
///         drain rest_s: Seconds = default(Seconds(30)) in 0..=3600;
///     }
/// }
/// ```
///
/// A `section` implements `Default`; an `entry` (of an array of tables) may have `required` keys.
/// In front of the key stands its [`Effect`] (or `table`), behind it one of `default(VALUE)`,
/// `optional("EXAMPLE")` (an `Option`), `usual("EXAMPLE")` (an `Option` that the example of an entry
/// has) and `required("EXAMPLE")`, then the range of a number.
macro_rules! settings_table {
    (
        $(#[doc = $about:literal])+
        $kind:ident $Name:ident {
            $(
                $(#[doc = $doc:literal])+
                $effect:ident $key:ident: $Type:ty = $how:ident($arg:expr) $(in $range:expr)?;
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $Name {
            $( $(#[doc = $doc])+ pub $key: $Type, )+
        }

        impl $crate::settings::table::Table for $Name {
            fn read_keys(
                path: &str,
                table: &toml::de::DeTable<'_>,
                reader: &mut $crate::settings::read::Reader,
            ) -> Option<Self> {
                reader.refuse_unknown(path, table, &[$(stringify!($key)),+]);
                $(
                    let found: Option<$Type> = reader.key(path, table, stringify!($key));
                    $( let found = reader.in_range(path, stringify!($key), found, $range); )?
                    let $key = settings_table!(@or $how($arg) found, reader, path, table, $key);
                )+
                Some($Name { $( $key: $key?, )+ })
            }

            fn keys(this: Option<&Self>) -> Vec<$crate::settings::table::Key> {
                vec![$(
                    $crate::settings::table::Key {
                        name: stringify!($key),
                        docs: vec![$($doc),+],
                        effect: settings_table!(@effect $effect),
                        range: settings_table!(@range $($range)?),
                        shape: settings_table!(@shape $how($arg) this, $key: $Type),
                    },
                )+]
            }
        }

        settings_table!(@defaults $kind $Name { $( $key = $how($arg); )+ });
    };

    (@or default($arg:expr) $found:ident, $reader:ident, $path:ident, $table:ident, $key:ident) => {
        Some($found.unwrap_or_else(|| $arg))
    };
    (@or optional($arg:expr) $found:ident, $reader:ident, $path:ident, $table:ident, $key:ident) => {
        Some($found.flatten())
    };
    (@or usual($arg:expr) $found:ident, $reader:ident, $path:ident, $table:ident, $key:ident) => {
        Some($found.flatten())
    };
    (@or required($arg:expr) $found:ident, $reader:ident, $path:ident, $table:ident, $key:ident) => {
        $found.or_else(|| $reader.missing($path, $table, stringify!($key), $arg))
    };

    (@effect live) => { Some($crate::settings::table::Effect::Live) };
    (@effect drain) => { Some($crate::settings::table::Effect::Drain) };
    (@effect restart) => { Some($crate::settings::table::Effect::Restart) };
    (@effect table) => { None };

    (@range) => { None };
    (@range $range:expr) => { Some($range) };

    (@shape default($arg:expr) $this:ident, $key:ident: $Type:ty) => {
        $this.map_or_else(
            || <$Type as $crate::settings::table::Value>::shape(&$arg),
            |this| $crate::settings::table::Value::shape(&this.$key),
        )
    };
    (@shape optional($arg:expr) $this:ident, $key:ident: $Type:ty) => {
        $this
            .and_then(|this| this.$key.as_ref())
            .map_or($crate::settings::table::Shape::Absent($arg), |value| {
                $crate::settings::table::Value::shape(value)
            })
    };
    (@shape usual($arg:expr) $this:ident, $key:ident: $Type:ty) => {
        match $this {
            Some(this) => $crate::settings::table::Value::shape(&this.$key),
            None => $crate::settings::table::Shape::Scalar($arg.to_owned()),
        }
    };
    (@shape required($arg:expr) $this:ident, $key:ident: $Type:ty) => {
        $this.map_or_else(
            || $crate::settings::table::Shape::Scalar($arg.to_owned()),
            |this| $crate::settings::table::Value::shape(&this.$key),
        )
    };

    (@defaults entry $($rest:tt)*) => {};
    (@defaults section $Name:ident { $( $key:ident = $how:ident($arg:expr); )+ }) => {
        impl Default for $Name {
            fn default() -> Self {
                $Name { $( $key: settings_table!(@absent $how($arg)), )+ }
            }
        }
    };
    (@absent default($arg:expr)) => { $arg };
    (@absent optional($arg:expr)) => { None };
}

pub(crate) use settings_table;
