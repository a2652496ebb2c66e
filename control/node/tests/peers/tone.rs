//! Which tone a recording holds: WAV in, the power at given frequencies out (Goertzel's algorithm).

use std::f64::consts::TAU;
use std::fs;
use std::path::Path;

/// A mono view (first channel) of a recording.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Recording {
    pub(crate) samples_per_second: u32,
    pub(crate) samples: Vec<f64>,
}

impl Recording {
    /// Reads a RIFF/WAVE file of 16-bit PCM.
    pub(crate) fn read(path: &Path) -> Result<Recording, String> {
        let bytes = fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Recording::parse(&bytes).map_err(|e| format!("{}: {e}", path.display()))
    }

    fn parse(bytes: &[u8]) -> Result<Recording, String> {
        if bytes.get(..4) != Some(b"RIFF".as_slice())
            || bytes.get(8..12) != Some(b"WAVE".as_slice())
        {
            return Err("not a RIFF/WAVE file".to_owned());
        }
        let (mut rest, mut format) = (&bytes[12..], None);
        while let Some((head, body)) = rest.split_at_checked(8) {
            let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
            // A writer that was stopped leaves a size that is too large: what is there counts.
            let chunk = &body[..size.min(body.len())];
            match &head[..4] {
                b"fmt " => format = Some(Format::parse(chunk)?),
                b"data" => {
                    return format
                        .ok_or("data before format".to_owned())
                        .map(|format| format.decode(chunk));
                }
                _ => {}
            }
            // Chunks are padded to an even length.
            rest = body.get(size + size % 2..).unwrap_or_default();
        }
        Err("no data in it".to_owned())
    }

    /// How long it lasts, in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.samples_per_second)
    }

    /// The part from `from` to `to`, each a fraction (0..=1) of the whole.
    pub(crate) fn part(&self, from: f64, to: f64) -> Recording {
        let at = |fraction: f64| (self.samples.len() as f64 * fraction) as usize;
        Recording { samples: self.samples[at(from)..at(to)].to_vec(), ..*self }
    }

    /// The share (0..=1) of the recording's energy that lies at `hertz`.
    pub(crate) fn purity(&self, hertz: f64) -> f64 {
        let energy: f64 = self.samples.iter().map(|sample| sample * sample).sum();
        if energy == 0.0 {
            return 0.0;
        }
        // A pure tone of amplitude a over n samples has the energy a²n/2 and the Goertzel power
        // (an/2)².
        let power = self.power(hertz);
        (2.0 * power / (self.samples.len() as f64 * energy)).min(1.0)
    }

    fn power(&self, hertz: f64) -> f64 {
        let coefficient = 2.0 * (TAU * hertz / f64::from(self.samples_per_second)).cos();
        let (mut last, mut before) = (0.0, 0.0);
        for sample in &self.samples {
            (last, before) = (sample + coefficient * last - before, last);
        }
        last * last + before * before - coefficient * last * before
    }
}

struct Format {
    channels: u16,
    samples_per_second: u32,
}

impl Format {
    fn parse(chunk: &[u8]) -> Result<Format, String> {
        let field = |at: usize| {
            chunk.get(at..at + 2).map(|b| u16::from_le_bytes([b[0], b[1]])).ok_or("short format")
        };
        let (channels, bits) = (field(2)?, field(14)?);
        if bits != 16 || channels == 0 {
            return Err(format!("{channels} channels of {bits} bits, wanted 16-bit PCM"));
        }
        Ok(Format {
            channels,
            samples_per_second: u32::from(field(4)?) | u32::from(field(6)?) << 16,
        })
    }

    fn decode(&self, data: &[u8]) -> Recording {
        let samples = data.chunks_exact(2 * usize::from(self.channels));
        let samples =
            samples.map(|frame| f64::from(i16::from_le_bytes([frame[0], frame[1]]))).collect();
        Recording { samples_per_second: self.samples_per_second, samples }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(hertz: f64, channels: u16) -> Vec<u8> {
        let mut wave = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0".to_vec();
        wave.extend(channels.to_le_bytes());
        wave.extend(8000_u32.to_le_bytes());
        wave.extend([0; 6]);
        wave.extend(16_u16.to_le_bytes());
        wave.extend(b"data\xff\xff\xff\x7f");
        for n in 0..8000 {
            let sample = (f64::from(n) * TAU * hertz / 8000.0).sin() * 8000.0;
            for _ in 0..channels {
                wave.extend((sample as i16).to_le_bytes());
            }
        }
        wave
    }

    /// The judge can tell the two tones of the calls apart; without this a call's test proves
    /// nothing.
    #[test]
    fn tone_is_told_from_another() {
        for channels in [1, 2] {
            let recording = Recording::parse(&sine(440.0, channels)).unwrap();
            assert!((recording.seconds() - 1.0).abs() < 1e-9);
            assert!(recording.purity(440.0) > 0.99);
            assert!(recording.purity(1000.0) < 0.01);
        }
    }

    /// Silence has no tone in it.
    #[test]
    fn silence_is_no_tone() {
        let silence = Recording { samples_per_second: 8000, samples: vec![0.0; 8000] };
        assert!(silence.purity(440.0) < f64::EPSILON);
    }
}
