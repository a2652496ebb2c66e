//! Reads TOML into settings and collects every problem instead of stopping at the first.

use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::hint;
use super::problem::{Places, Problem, Wrong};
use super::table::{Key, Shape, Value};

/// Collects problems, and where each key stands.
pub(crate) struct Reader {
    pub(crate) places: Places,
    problems: Vec<Problem>,
    /// Paths that have a problem.
    unsound: Vec<String>,
    /// Every key that exists, as a path without indexes.
    known: Vec<String>,
}

/// A value that is written as a string.
pub(crate) trait Text: Sized {
    /// Reads the string's content.
    fn parse(text: &str) -> Result<Self, Wrong>;

    /// The string's content.
    fn show(&self) -> String;
}

/// A value that is written as a number without a sign.
pub(crate) trait Number: Sized {
    fn from_number(number: u64) -> Option<Self>;

    fn number(&self) -> u64;
}

impl Reader {
    pub(crate) fn new(text: &str, known: Vec<String>) -> Reader {
        Reader { places: Places::new(text), problems: Vec::new(), unsound: Vec::new(), known }
    }

    /// Tells of a problem with the key at `path`.
    pub(crate) fn tell(&mut self, path: &str, wrong: Wrong) {
        self.unsound.push(path.to_owned());
        self.problems.push(self.places.problem(path, wrong));
    }

    /// Tells that the text is not TOML at the byte `offset`.
    pub(crate) fn not_toml(&mut self, offset: usize, message: &str) {
        self.problems.push(Problem {
            position: Some(self.places.position(offset)),
            key: String::new(),
            what: message.replace('\n', " "),
            fix: "write TOML, for example name = \"text\" or rest_s = 30".to_owned(),
        });
    }

    /// Whether nothing is wrong with any of `paths`, nor under them: rules that compare keys ask
    /// first, so that one mistake is not reported twice.
    pub(crate) fn sound(&self, paths: &[&str]) -> bool {
        let under = |path: &str, root: &str| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !self.unsound.iter().any(|path| paths.iter().any(|root| under(path, root)))
    }

    /// The problems, in the order of the text.
    pub(crate) fn finish(self) -> (Places, Vec<Problem>) {
        let mut problems = self.problems;
        problems.sort_by_key(|problem| problem.position);
        (self.places, problems)
    }

    /// The value of `key`, if it is there and right.
    pub(crate) fn key<T: Value>(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        key: &str,
    ) -> Option<T> {
        let value = table.get(key)?;
        let path = join(path, key);
        self.places.note(&path, value.span());
        T::read(&path, value, self)
    }

    pub(crate) fn in_range<T: Number>(
        &mut self,
        path: &str,
        key: &str,
        found: Option<T>,
        range: RangeInclusive<u64>,
    ) -> Option<T> {
        let number = found.as_ref()?.number();
        if range.contains(&number) {
            return found;
        }
        let what = format!("{number} is out of range");
        let fix = format!("choose {} to {}", range.start(), range.end());
        self.tell(&join(path, key), Wrong::new(what, fix));
        None
    }

    /// Tells that a key without a default is absent, unless it is there and has been found wrong.
    pub(crate) fn missing<T>(
        &mut self,
        path: &str,
        table: &DeTable<'_>,
        key: &str,
        example: &str,
    ) -> Option<T> {
        if !table.contains_key(key) {
            let fix = format!("add it, for example {key} = {example}");
            self.tell(&join(path, key), Wrong::new("is missing", fix));
        }
        None
    }

    pub(crate) fn refuse_unknown(&mut self, path: &str, table: &DeTable<'_>, keys: &[&str]) {
        for key in table.keys() {
            if !keys.contains(&key.get_ref().as_ref()) {
                let at = join(path, key.get_ref());
                self.places.note(&at, key.span());
                let fix = self.suggest(key.get_ref(), keys);
                self.tell(&at, Wrong::new("no such key", fix));
            }
        }
    }

    fn suggest(&self, key: &str, siblings: &[&str]) -> String {
        if let Some(near) = hint::nearest(key, siblings.iter().copied()) {
            return format!("did you mean `{near}`?");
        }
        let ends_so = |known: &&String| known.rsplit('.').next() == Some(key);
        if let Some(elsewhere) = self.known.iter().find(ends_so) {
            return format!("did you mean `{elsewhere}`?");
        }
        format!("the keys here are {}", siblings.join(", "))
    }

    /// The value as a table.
    pub(crate) fn table<'v, 'i>(
        &mut self,
        path: &str,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Option<&'v DeTable<'i>> {
        let found = value.get_ref().as_table();
        if found.is_none() {
            let fix = match value.get_ref().as_array() {
                Some(_) => format!("write [{path}] with one pair of brackets"),
                None => format!("write its keys under [{path}]"),
            };
            self.wrong_type(path, "a table", value, &fix);
        }
        found
    }

    pub(crate) fn wrong_type(
        &mut self,
        path: &str,
        wanted: &str,
        value: &Spanned<DeValue<'_>>,
        fix: &str,
    ) {
        let found = value.get_ref().type_str();
        self.tell(path, Wrong::new(format!("expected {wanted}, found {found}"), fix));
    }

    /// The value as a string that `T` can be read from.
    pub(crate) fn text<T: Text>(&mut self, path: &str, value: &Spanned<DeValue<'_>>) -> Option<T> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(path, "a string", value, "write it in double quotes");
            return None;
        };
        T::parse(text).map_err(|wrong| self.tell(path, wrong)).ok()
    }

    /// The value as a number.
    pub(crate) fn number<T: Number>(
        &mut self,
        path: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<T> {
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(path, "a whole number", value, "write digits, without quotes");
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let read = number.and_then(T::from_number);
        if read.is_none() {
            let what = format!("{integer} is out of range");
            self.tell(path, Wrong::new(what, "choose a smaller number, without a sign"));
        }
        read
    }
}

/// `key` within the table at `path`.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A string as TOML writes it.
pub(crate) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl<T: Value> Value for Option<T> {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Option<T>> {
        T::read(path, value, reader).map(Some)
    }

    fn shape(&self) -> Shape {
        self.as_ref().map_or(Shape::Absent(""), Value::shape)
    }
}

/// Entries that cannot be read are left out; the reader remembers where the others stand.
impl<T: Value> Value for Vec<T> {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Vec<T>> {
        let Some(array) = value.get_ref().as_array() else {
            let fix = match (value.get_ref().as_table(), T::example()) {
                (Some(_), Some(_)) => format!("write [[{path}]] with two pairs of brackets"),
                (_, Some(_)) => format!("write each entry under [[{path}]]"),
                (_, None) => "write it in square brackets, for example [a, b]".to_owned(),
            };
            reader.wrong_type(path, "an array", value, &fix);
            return None;
        };
        let (mut kept, mut entries) = (Vec::new(), Vec::new());
        for (index, value) in array.iter().enumerate() {
            let path = format!("{path}[{index}]");
            reader.places.note(&path, value.span());
            if let Some(entry) = T::read(&path, value, reader) {
                kept.push(index);
                entries.push(entry);
            }
        }
        reader.places.note_kept(path, kept);
        Some(entries)
    }

    fn shape(&self) -> Shape {
        let Some(example) = T::example() else {
            let items = self.iter().map(|item| scalar(item.shape())).collect::<Vec<_>>();
            return Shape::Scalar(format!("[{}]", items.join(", ")));
        };
        let entries = self.iter().map(|item| table_keys(item.shape())).collect();
        Shape::Tables { entries, example }
    }
}

fn scalar(shape: Shape) -> String {
    match shape {
        Shape::Scalar(text) => text,
        Shape::Absent(_) | Shape::Table(_) | Shape::Tables { .. } => String::new(),
    }
}

fn table_keys(shape: Shape) -> Vec<Key> {
    match shape {
        Shape::Table(keys) => keys,
        Shape::Scalar(_) | Shape::Absent(_) | Shape::Tables { .. } => Vec::new(),
    }
}
