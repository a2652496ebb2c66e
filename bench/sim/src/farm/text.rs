//! SIP messages as phones and checkers read and write them, apart from the cores' own reading.

/// A message, split into its lines.
#[derive(Debug)]
pub(super) struct Text<'m> {
    pub(super) start: &'m str,
    headers: Vec<(&'m str, &'m str)>,
}

impl<'m> Text<'m> {
    pub(super) fn read(bytes: &'m [u8]) -> Option<Text<'m>> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.split("\r\n");
        let start = lines.next()?;
        let headers = lines.take_while(|line| !line.is_empty());
        let headers = headers.filter_map(|line| line.split_once(": ")).collect();
        Some(Text { start, headers })
    }

    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &'m str> {
        self.headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v)
    }

    pub(super) fn header(&self, name: &str) -> &'m str {
        self.all(name).next().unwrap_or_default()
    }

    /// `None` for a request.
    pub(super) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
    }

    /// That of the CSeq.
    pub(super) fn method(&self) -> &'m str {
        self.header("CSeq").split_once(' ').map_or("", |(_, method)| method)
    }

    pub(super) fn call_id(&self) -> &'m str {
        self.header("Call-ID")
    }

    /// The branches of its Vias, the topmost first.
    pub(super) fn branches(&self) -> Vec<&'m str> {
        let vias = self.all("Via").flat_map(|line| line.split(','));
        vias.map(|via| param(via, "branch").unwrap_or_default()).collect()
    }

    pub(super) fn to_tag(&self) -> Option<&'m str> {
        param(self.header("To"), "tag")
    }
}

/// The value of a parameter.
pub(super) fn param<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut rest = text.split(';').skip(1);
    let found = rest.find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))?;
    Some(found.trim_end_matches(['>', ',', ' ']))
}

/// What stands between angle brackets.
pub(super) fn uri(text: &str) -> &str {
    let inner = text.split_once('<').map_or(text, |(_, inner)| inner);
    inner.split_once('>').map_or(inner, |(uri, _)| uri)
}
