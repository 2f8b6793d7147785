//! MessagePack as it crosses the border: maps by field name, addresses as text (what serde calls human-readable).

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::problem::PlanError;

/// Decodes one plan struct.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PlanError> {
    let mut decoder = rmp_serde::Deserializer::from_read_ref(bytes).with_human_readable();
    T::deserialize(&mut decoder).map_err(|error| PlanError::new("", format!("cannot be decoded: {error}")))
}

/// Encodes one plan struct.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, PlanError> {
    let mut bytes = Vec::new();
    let mut encoder = rmp_serde::Serializer::new(&mut bytes).with_struct_map().with_human_readable();
    value
        .serialize(&mut encoder)
        .map_err(|error| PlanError::new("", format!("cannot be encoded: {error}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Address, AddressRange};

    #[test]
    fn addresses_cross_as_text() {
        let address = Address::Socket { ip: "10.0.0.1".parse().unwrap(), port: 80 };
        let bytes = encode(&address).unwrap();
        let as_python_writes_it = serde_json::json!({"kind": "socket", "ip": "10.0.0.1", "port": 80});
        assert_eq!(decode::<serde_json::Value>(&bytes).unwrap(), as_python_writes_it);
        assert_eq!(decode::<Address>(&bytes).unwrap(), address);
        let range = AddressRange { ip: "2001:db8::".parse().unwrap(), prefix: 32 };
        assert_eq!(decode::<AddressRange>(&encode(&range).unwrap()).unwrap(), range);
    }

    #[test]
    fn unknown_fields_are_refused() {
        let bytes = encode(&serde_json::json!({"ip": "10.0.0.1", "prefix": 8, "colour": "red"})).unwrap();
        let problem = decode::<AddressRange>(&bytes).unwrap_err();
        assert!(problem.reason.contains("colour"), "{problem}");
    }
}
