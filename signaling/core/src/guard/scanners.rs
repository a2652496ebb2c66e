//! Programs that look for SIP servers to break into, by the name that they give themselves.

/// What scanners and toll fraud tools call themselves in User-Agent, or in From's name, in any case.
pub const SCANNERS: [&str; 12] = [
    "friendly-scanner",
    "friendly-request",
    "sipvicious",
    "sipcli",
    "sip-scan",
    "sipscan",
    "siparmyknife",
    "sundayddr",
    "pplsip",
    "iwar",
    "vaxsipuseragent",
    "vaxipuseragent",
];

/// Words that are looked for anywhere in a text, in upper or lower case.
#[derive(Debug)]
pub(super) struct Words {
    /// In lower case.
    words: Vec<Box<[u8]>>,
    /// The bytes that a word may begin with.
    first: [bool; 256],
}

impl Words {
    pub(super) fn new(words: &[String]) -> Self {
        let words: Vec<Box<[u8]>> = words
            .iter()
            .filter(|word| !word.is_empty())
            .map(|word| word.to_ascii_lowercase().into_bytes().into_boxed_slice())
            .collect();
        let mut first = [false; 256];
        for byte in words.iter().filter_map(|word| word.first()) {
            first[usize::from(*byte)] = true;
            first[usize::from(byte.to_ascii_uppercase())] = true;
        }
        Words { words, first }
    }

    pub(super) fn are_in(&self, text: &[u8]) -> bool {
        let starts = text.iter().enumerate().filter(|(_, byte)| self.first[usize::from(**byte)]);
        starts.map(|(at, _)| &text[at..]).any(|rest| {
            let is_here = |word: &[u8]| {
                rest.get(..word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word))
            };
            self.words.iter().any(|word| is_here(word))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scanners_are_known_in_any_case_and_phones_are_not() {
        let words = Words::new(&SCANNERS.map(str::to_owned));
        for agent in ["friendly-scanner", "sipcli/v1.8", "VaxSIPUserAgent/3.1", "x SIPVicious 0.3"]
        {
            assert!(words.are_in(agent.as_bytes()), "{agent}");
        }
        for agent in
            ["", "Yealink SIP-T46S 66.85.0.5", "baresip v3.1", "SIPp", "Asterisk PBX 20", "sipcl"]
        {
            assert!(!words.are_in(agent.as_bytes()), "{agent}");
        }
    }
}
