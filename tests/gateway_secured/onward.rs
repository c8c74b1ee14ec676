//! TLS towards the endpoints that a gateway passes bytes on to.

use rustls::ServerConfig;
use tokio_rustls::TlsAcceptor;

use super::*;

/// Tells whoever comes with TLS the name that the handshake asked for.
async fn endpoint(pair: &Pair) -> u16 {
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let chain = vec![CertificateDer::from_pem_slice(pair.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).unwrap()));
    let listener = TcpListener::bind(local(0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let name = stream.get_ref().1.server_name().unwrap_or("nobody").to_owned();
            let _ = stream.write_all(name.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    port
}

#[tokio::test]
async fn bytes_are_for_whom_the_rule_names_and_not_for_the_service() {
    let (ours, others) = (Signer::new("ours"), Signer::new("others"));
    let pair = ours.issue("end.test");
    let behind = behind(endpoint(&pair).await);
    let secrets = secret("ours", &pair, Some(&ours)) + &secret("others", &pair, Some(&others));
    for (words, asked) in [
        ("credentialName: ours", "nobody"),
        ("credentialName: ours, sni: else.test", "else.test"),
        ("credentialName: ours, subjectAltNames: [end.test]", "nobody"),
        ("credentialName: ours, subjectAltNames: [up.test]", ""),
        ("credentialName: others", ""),
    ] {
        let port = free_port();
        let rule = format!(
            "
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: up}}
spec:
  host: up.test
  trafficPolicy: {{tls: {{mode: SIMPLE, {words}}}}}
---
"
        );
        let mesh = Mesh::new();
        let text = [&gateway(port, &[("TCP", "['*']", "null")]), &secrets, &rule, &behind].map(String::as_str).concat();
        let report = mesh.apply(Config::from_yaml(&text, "it.yaml").unwrap()).unwrap();
        assert_eq!(report.errors().count(), 0, "{report}");
        let _server = start(&mesh).await;
        let mut heard = Vec::new();
        // A connection that is not passed on is closed or reset.
        let _ = TcpStream::connect(local(port)).await.unwrap().read_to_end(&mut heard).await;
        assert_eq!(String::from_utf8(heard).unwrap(), asked, "{words}");
    }
}
