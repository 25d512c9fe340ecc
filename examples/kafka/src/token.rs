use super::options::TokenSource;
use forebay::{core::BoxError, kip714::tcp::OAuthToken};
use std::{process::Stdio, time::Duration};
use tokio::process::Command;

/// No token is longer; more is no token.
const LONGEST: usize = 64 << 10;

// === impl TokenSource ===

impl TokenSource {
    /// The token as it is now.
    ///
    /// # Errors
    ///
    /// When the file cannot be read, the command fails, or there is no token in what they hold. No error shows it.
    ///
    /// # Cancellation
    ///
    /// The command is killed.
    pub(super) async fn token(&self, valid_for: Option<Duration>) -> Result<OAuthToken, BoxError> {
        let token = OAuthToken::new(&self.text().await?)?;
        Ok(match valid_for {
            Some(time) => token.valid_for(time),
            None => token,
        })
    }

    /// The text of the token, without the blanks around it.
    pub(super) async fn text(&self) -> Result<String, BoxError> {
        let text = match self {
            Self::File(file) => {
                let read = file.clone();
                let text = tokio::task::spawn_blocking(move || std::fs::read(read)).await?;
                text.map_err(|error| format!("{}: {error}", file.display()))?
            }
            Self::Command(command) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", command]).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
                let output = shell.output().await.map_err(|error| format!("the command for a token: {error}"))?;
                if !output.status.success() {
                    return Err(format!("the command for a token failed: {}", output.status).into());
                }
                output.stdout
            }
        };
        if text.len() > LONGEST {
            return Err(format!("{} bytes are no token", text.len()).into());
        }
        let text = String::from_utf8(text).map_err(|_secret| "the token is no text")?;
        Ok(text.trim().to_owned())
    }
}
