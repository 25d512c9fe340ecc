use crate::SystemConfiguration;

/// What a driver says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    /// The driver and its version, as in a `User-Agent`.
    pub user_agent: String,
    /// What the customer calls the program; never sent without authentication.
    pub user_agent_entry: Option<String>,
    /// Where the driver runs; never sent without authentication.
    pub system: SystemConfiguration,
}

// === impl ClientInfo ===

impl ClientInfo {
    /// The driver and its version, as in a `User-Agent`: `NodejsDatabricksSqlConnector/1.12.0`.
    ///
    /// The operating system and the architecture are those this was compiled for.
    #[must_use]
    pub fn new(user_agent: impl Into<String>) -> Self {
        let user_agent = user_agent.into();
        let (name, version) = user_agent.split_once('/').unwrap_or((&user_agent, ""));
        let system = SystemConfiguration {
            driver_name: Some(name.to_owned()),
            driver_version: (!version.is_empty()).then(|| version.to_owned()),
            os_name: Some(std::env::consts::OS.to_owned()),
            os_arch: Some(std::env::consts::ARCH.to_owned()),
            char_set_encoding: Some("UTF-8".to_owned()),
            ..SystemConfiguration::default()
        };
        Self { user_agent, user_agent_entry: None, system }
    }

    /// Sets what the customer calls the program.
    #[must_use]
    pub fn user_agent_entry(mut self, entry: impl Into<String>) -> Self {
        self.user_agent_entry = Some(entry.into());
        self
    }

    /// Sets where the driver runs.
    #[must_use]
    pub fn system(mut self, system: SystemConfiguration) -> Self {
        self.system = system;
        self
    }

    pub(crate) fn full_user_agent(&self) -> String {
        match &self.user_agent_entry {
            Some(entry) => format!("{} ({entry})", self.user_agent),
            None => self.user_agent.clone(),
        }
    }
}

impl Default for ClientInfo {
    fn default() -> Self {
        Self::new(concat!("forebay/", env!("CARGO_PKG_VERSION")))
    }
}
