use forebay_otlp::Resource;
use std::borrow::Cow;

/// The labels that a client puts on all its metrics, as the KIP names them.
///
/// `client_id` is not among them, nor is the instance id: a broker knows both from the request, and its receiver adds
/// what it wants of them.
///
/// ```
/// use forebay_kip714::ClientLabels;
///
/// let labels = ClientLabels::new().client_rack("eu-1a").group_id("billing");
/// assert_eq!(labels.resource().attributes.len(), 2);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[must_use]
pub struct ClientLabels {
    labels: Vec<(&'static str, Cow<'static, str>)>,
}

// === impl ClientLabels ===

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        pub fn $name(self, value: impl Into<Cow<'static, str>>) -> Self {
            self.with(stringify!($name), value.into())
        }
    )*};
}

impl ClientLabels {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    labels! {
        /// The rack of the client, `client.rack`.
        client_rack;
        /// The group of a consumer.
        group_id;
        /// The static id of a member of a group.
        group_instance_id;
        /// The id that the group's coordinator gave; it changes with each join.
        group_member_id;
        /// The transactional id of a producer.
        transactional_id;
    }

    /// As attributes of an OTLP resource.
    #[must_use]
    pub fn resource(&self) -> Resource {
        let labels = self.labels.iter();
        labels.fold(Resource::new(), |resource, (name, value)| resource.attribute(*name, value.clone()))
    }

    /// The last value of a label is the one that counts.
    fn with(mut self, name: &'static str, value: Cow<'static, str>) -> Self {
        self.labels.retain(|(known, _)| *known != name);
        self.labels.push((name, value));
        self
    }
}
