//! Addresses of a host in one key: one IPv4 address, one IPv6 address, or both.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};
use toml::Spanned;
use toml::de::DeValue;

use super::problem::Wrong;
use super::read::{Reader, quoted};
use super::table::{Shape, Value};
use super::values::not_unicast;

/// One unicast address a family at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AddressPair {
    /// For IPv4.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl AddressPair {
    /// The address of the family of `other`.
    #[must_use]
    pub fn like(self, other: IpAddr) -> Option<IpAddr> {
        match other {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    /// With what is absent taken from `other`.
    #[must_use]
    pub fn or(self, other: AddressPair) -> AddressPair {
        AddressPair { v4: self.v4.or(other.v4), v6: self.v6.or(other.v6) }
    }

    /// Those that there are, IPv4 first.
    #[must_use]
    pub fn addresses(self) -> Vec<IpAddr> {
        let (v4, v6) = (self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6));
        v4.into_iter().chain(v6).collect()
    }

    fn add(&mut self, address: IpAddr) -> Result<(), Wrong> {
        if let Some(why) = not_unicast(address) {
            let fix = "write the address of a host, or leave the key empty";
            return Err(Wrong::new(format!("{address} {why}"), fix));
        }
        let taken = match address {
            IpAddr::V4(v4) => self.v4.replace(v4).is_some(),
            IpAddr::V6(v6) => self.v6.replace(v6).is_some(),
        };
        if taken {
            let what = format!("{address} is the second address of its family");
            return Err(Wrong::new(what, "list one IPv4 address and one IPv6 address at most"));
        }
        Ok(())
    }
}

/// `""`, one address or an array of addresses.
impl Value for AddressPair {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<AddressPair> {
        let listed: Vec<(String, IpAddr)> = match value.get_ref() {
            DeValue::String(text) if text.is_empty() => Vec::new(),
            DeValue::Array(_) => {
                let addresses = Vec::read(path, value, reader)?;
                let at = |(index, address)| (reader.places.entry(path, index), address);
                addresses.into_iter().enumerate().map(at).collect()
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => vec![(path.to_owned(), reader.text(path, value)?)],
        };
        let mut pair = AddressPair::default();
        for (at, address) in listed {
            if let Err(wrong) = pair.add(address) {
                reader.tell(&at, wrong);
            }
        }
        Some(pair)
    }

    fn shape(&self) -> Shape {
        let quoted_all: Vec<_> = self.addresses().iter().map(|a| quoted(&a.to_string())).collect();
        Shape::Scalar(match quoted_all.as_slice() {
            [] => quoted(""),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        })
    }
}
