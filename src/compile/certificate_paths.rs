//! Paths of certificates are relative to the file that names them.

use std::path::Path;

use crate::config::{ClientTlsSettings, Config, DestinationRule, Gateway, ServerTlsSettings, TrafficPolicy};

/// Makes every path lead from where the process runs.
pub(crate) fn resolve(config: &mut Config) {
    for rule in &mut config.destination_rules {
        if let Some(folder) = folder(rule.file()) {
            destination_rule(&mut rule.spec, &folder);
        }
    }
    for gateway in &mut config.gateways {
        if let Some(folder) = folder(gateway.file()) {
            servers(&mut gateway.spec, &folder);
        }
    }
}

fn folder(file: Option<&str>) -> Option<Box<Path>> {
    let folder = Path::new(file?).parent()?;
    (!folder.as_os_str().is_empty()).then(|| folder.into())
}

fn destination_rule(spec: &mut DestinationRule, folder: &Path) {
    let of_subsets = spec.subsets.iter_mut().filter_map(|subset| subset.traffic_policy.as_mut());
    for policy in of_subsets.chain(&mut spec.traffic_policy) {
        let TrafficPolicy { tls, port_level_settings, .. } = policy;
        let of_ports = port_level_settings.iter_mut().filter_map(|entry| entry.tls.as_mut());
        for ClientTlsSettings { client_certificate, private_key, ca_certificates, ca_crl, .. } in of_ports.chain(tls) {
            [client_certificate, private_key, ca_certificates, ca_crl].into_iter().for_each(|path| join(folder, path));
        }
    }
}

fn servers(spec: &mut Gateway, folder: &Path) {
    for tls in spec.servers.iter_mut().filter_map(|server| server.tls.as_mut()) {
        let ServerTlsSettings { server_certificate, private_key, ca_certificates, ca_crl, tls_certificates, .. } = tls;
        [server_certificate, private_key, ca_certificates, ca_crl].into_iter().for_each(|path| join(folder, path));
        for pair in tls_certificates {
            let paths = [&mut pair.server_certificate, &mut pair.private_key, &mut pair.ca_certificates];
            paths.into_iter().for_each(|path| join(folder, path));
        }
    }
}

fn join(folder: &Path, path: &mut String) {
    // A path that is no text any more is one that nobody could have written.
    if !path.is_empty()
        && let Some(joined) = folder.join(&*path).to_str()
    {
        *path = joined.to_owned();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relative_paths_begin_where_the_file_is() {
        let text = "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: a.test
  trafficPolicy:
    tls: {mode: MUTUAL, clientCertificate: certs/tls.crt, privateKey: /etc/tls.key}
    portLevelSettings: [{port: {number: 80}, tls: {mode: SIMPLE, caCertificates: ../ca.crt}}]
  subsets: [{name: v1, labels: {a: b}, trafficPolicy: {tls: {mode: SIMPLE, caCrl: ca.crl}}}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  servers:
  - port: {number: 443, name: https, protocol: HTTPS}
    hosts: ['*']
    tls: {mode: SIMPLE, tlsCertificates: [{serverCertificate: a.crt, privateKey: a.key}]}
";
        let mut config = Config::from_files([("/mesh/rules/a.yaml", text)]).unwrap();
        resolve(&mut config);
        let rule = &config.destination_rules[0].spec;
        let policy = rule.traffic_policy.as_ref().unwrap();
        let tls = policy.tls.as_ref().unwrap();
        assert_eq!(tls.client_certificate, "/mesh/rules/certs/tls.crt");
        assert_eq!((tls.private_key.as_str(), tls.ca_certificates.as_str()), ("/etc/tls.key", ""));
        let of_port = policy.port_level_settings[0].tls.as_ref().unwrap();
        assert_eq!(of_port.ca_certificates, "/mesh/rules/../ca.crt");
        let of_subset = rule.subsets[0].traffic_policy.as_ref().unwrap().tls.as_ref().unwrap();
        assert_eq!(of_subset.ca_crl, "/mesh/rules/ca.crl");
        let server = config.gateways[0].spec.servers[0].tls.as_ref().unwrap();
        assert_eq!(server.tls_certificates[0].server_certificate, "/mesh/rules/a.crt");
    }
}
