use super::{
    fault::Fault,
    names::{Misread, NAMES},
};
use std::{error::Error, fmt, str::FromStr};

/// How often a receiver plays which [`Fault`], in percent of the requests.
///
/// The text form is `none`, `default` ([`Faults::lively`]), or a list such as `503:10,429=1:5,reset:0.5,slow=2s:2`:
/// a name, its parameter if it is to differ from the usual one, and the percentage with at most two decimals.
/// `%`, `,` and `;` inside a parameter are spelled `%25`, `%2C` and `%3B`, and so is any other byte that needs it.
///
/// | name | parameter (usual) | what happens |
/// | --- | --- | --- |
/// | `200` to `999` | `Retry-After`: seconds, `date+5`, `date-5`, `raw=soon`; several with `;` (none) | that status |
/// | `slow` | duration (`250ms`) | processed, late response |
/// | `blackhole`, `blackhole-unprocessed` | | read, no response |
/// | `deaf` | | body not read, no response |
/// | `reset`, `reset-unprocessed`, `reset-unread` | | TCP RST: after processing, after reading, before reading |
/// | `halfclose`, `halfclose-unprocessed` | | FIN instead of a response |
/// | `garbage`, `garbage-unprocessed` | | no HTTP |
/// | `truncated` | | processed, half a response |
/// | `trickle` | duration from byte to byte (`5ms`) | processed, response byte by byte |
/// | `oversized` | bytes (`1GiB`) | processed, a huge response |
/// | `gzipbomb` | decoded bytes (`1GiB`) | processed, a response that swells |
/// | `headers` | how many (`10000`) | processed, a response with that many extra headers |
/// | `redirect` | `STATUS;LOCATION` (`307;http://127.0.0.1:9/`) | redirected |
/// | `partial` | `REJECTED;MESSAGE` (`1;rejected on demand`) | all but the last records processed |
/// | `wrongtype` | content type (`text/html`) | processed, the response mislabelled |
///
/// ```
/// use forebay_testkit::receiver::Faults;
///
/// let faults: Faults = "503:10, 429=1:5, slow=2s:2".parse()?;
/// assert_eq!(faults.to_string(), "503:10,429=1:5,slow=2s:2");
///
/// let error = "503:80,reset:30".parse::<Faults>().unwrap_err();
/// assert_eq!(error.to_string(), "the sum of the percentages is `110`; allowed: at most 100");
/// # Ok::<(), forebay_testkit::receiver::FaultsError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(Vec<(Fault, Share)>);

/// A [`Faults`] that cannot be: what was given, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultsError(Misread);

/// Hundredths of a percent, at most [`Share::WHOLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Share(u32);

static NO_FAULT: Fault = Fault::None;

// === impl Faults ===

impl Faults {
    /// Every request is processed and gets its response.
    #[must_use]
    pub const fn none() -> Self {
        Self(Vec::new())
    }

    /// A mix for demonstrations, `default` in the text form: one request in six goes wrong, in ways that a sound client
    /// gets over without loss within a second or two.
    #[must_use]
    pub fn lively() -> Self {
        Self::parse(LIVELY).unwrap_or_default()
    }

    /// Plays `fault` in `percent` of the requests too.
    ///
    /// # Errors
    ///
    /// When `percent` is not from 0 to 100 with at most two decimals, when the sum would exceed 100, or when the same
    /// fault with the same parameter is there already.
    pub fn with(mut self, fault: Fault, percent: f64) -> Result<Self, FaultsError> {
        let share = percent.to_string().parse()?;
        self.push(fault, share)?;
        Ok(self)
    }

    /// Reads the text form.
    ///
    /// # Errors
    ///
    /// When `text` is none; the error names the part and what is allowed in its place.
    pub fn parse(text: &str) -> Result<Self, FaultsError> {
        match text.trim() {
            "none" => return Ok(Self::none()),
            "default" => return Ok(Self::lively()),
            _ => {}
        }
        let mut faults = Self::none();
        for entry in text.split(',') {
            let (fault, percent) = entry.rsplit_once(':').ok_or_else(|| {
                let allowed = format!("none, default, or NAME:PERCENT[,NAME:PERCENT]... where NAME is {NAMES}");
                Misread::new("entry", entry.trim(), allowed)
            })?;
            faults.push(Fault::read(fault)?, percent.trim().parse()?)?;
        }
        Ok(faults)
    }

    /// The faults and their percentages, in the order they were given.
    pub fn entries(&self) -> impl Iterator<Item = (&Fault, f64)> {
        self.0.iter().map(|(fault, share)| (fault, f64::from(share.0) / 100.0))
    }

    /// What request number `request` (from 0) gets under `seed`. It depends on these two numbers and nothing else.
    #[must_use]
    pub fn draw(&self, seed: u64, request: u64) -> &Fault {
        let mut point = Share::of_draw(seed, request).0;
        for (fault, share) in &self.0 {
            match point.checked_sub(share.0) {
                Some(left) => point = left,
                None => return fault,
            }
        }
        &NO_FAULT
    }

    fn push(&mut self, fault: Fault, share: Share) -> Result<(), FaultsError> {
        if self.0.iter().any(|(other, _)| *other == fault) {
            return Err(Misread::new("second entry", fault.to_string(), "each fault once").into());
        }
        let sum = Share(self.0.iter().map(|(_, share)| share.0).sum::<u32>() + share.0);
        if sum > Share::WHOLE {
            return Err(Misread::new("sum of the percentages", sum.to_string(), "at most 100").into());
        }
        self.0.push((fault, share));
        Ok(())
    }
}

/// No 500 and no partial success: a client that follows the protocol gives up on those, and something would be lost.
const LIVELY: &str = "503:5,429=1:2,502:1,504:1,slow:3,reset:2,reset-unprocessed:1,truncated:1";

impl FromStr for Faults {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        self.0.iter().enumerate().try_for_each(|(at, (fault, share))| {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{fault}:{share}")
        })
    }
}

// === impl Share ===

impl Share {
    const WHOLE: Self = Self(10_000);

    /// Output `request` of the generator SplitMix64 (Steele, Lea, Flood 2014) seeded with `seed`, scaled to a share.
    fn of_draw(seed: u64, request: u64) -> Self {
        let step = request.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mut bits = seed.wrapping_add(step);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^= bits >> 31;
        let scaled = (u128::from(bits) * u128::from(Self::WHOLE.0)) >> 64;
        Self(u32::try_from(scaled).unwrap_or_default())
    }
}

impl FromStr for Share {
    type Err = FaultsError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        // `parse` alone would take a sign.
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let hundredths = || {
            let whole: u32 = Some(whole).filter(|whole| digits(whole))?.parse().ok()?;
            let two: u32 = match decimals.len() {
                _ if !digits(decimals) => return None,
                1 => decimals.parse::<u32>().ok()? * 10,
                2 => decimals.parse().ok()?,
                _ => return None,
            };
            whole.checked_mul(100)?.checked_add(two).map(Share).filter(|share| *share <= Self::WHOLE)
        };
        let allowed = "from 0 to 100, with at most two decimals";
        hundredths().ok_or_else(|| Misread::new("percentage", text, allowed).into())
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.0 / 100, self.0 % 100);
        match hundredths {
            0 => write!(f, "{whole}"),
            tenths if tenths % 10 == 0 => write!(f, "{whole}.{}", tenths / 10),
            _ => write!(f, "{whole}.{hundredths:02}"),
        }
    }
}

// === impl FaultsError ===

impl From<Misread> for FaultsError {
    fn from(misread: Misread) -> Self {
        Self(misread)
    }
}

impl fmt::Display for FaultsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Misread { what, given, allowed } = &self.0;
        write!(f, "the {what} is `{given}`; allowed: {allowed}")
    }
}

impl Error for FaultsError {}
