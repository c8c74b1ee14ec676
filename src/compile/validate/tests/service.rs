use super::*;

fn ports(ports: &str) -> String {
    resource("Service", &format!("{{ports: [{ports}]}}")).replace("networking.istio.io/", "")
}

#[test]
fn vk1_a_service_has_ports_of_tcp_udp_and_sctp() {
    for protocol in ["TCP", "tcp", "UDP", "SCTP", "''"] {
        good(&ports(&format!("{{port: 80, protocol: {protocol}}}")));
    }
    for protocol in ["HTTP", "grpc", "TLS"] {
        says(&ports(&format!("{{port: 80, protocol: {protocol}}}")), &["error VK1 spec.ports[0].protocol"]);
    }
    let said = lines(&ports("{port: 80, protocol: HTTP}"));
    let line = "a.yaml:1:80: error: Service default/a: spec.ports[0].protocol: the protocol `HTTP` is unknown [VK1] (one \
                of TCP, UDP, SCTP; what is spoken over TCP is `appProtocol`)\n";
    assert_eq!(said, line);
}

#[test]
fn vk2_ports_of_a_service_are_within_16_bits() {
    good(&ports("{port: 1, targetPort: 65535}, {port: 2, targetPort: 0}, {port: 3, targetPort: http}"));
    says(&ports("{port: 0}"), &["error VK2 spec.ports[0].port"]);
    says(&ports("{name: http}"), &["error VK2 spec.ports[0].port"]);
    says(&ports("{port: 65536}"), &["error VK2 spec.ports[0].port"]);
    says(&ports("{port: 80, targetPort: 80000}"), &["error VK2 spec.ports[0].targetPort"]);
}

#[test]
fn vk3_a_service_has_each_port_of_a_protocol_once() {
    good(&ports("{port: 53, name: a}, {port: 53, name: b, protocol: UDP}, {port: 54, name: c}"));
    says(&ports("{port: 53, name: a}, {port: 53, name: b, protocol: TCP}"), &["error VK3 spec.ports[1].port"]);
}

#[test]
fn vk4_another_name_is_one_of_something() {
    let service = |spec: &str| resource("Service", spec).replace("networking.istio.io/", "");
    good(&service("{type: ExternalName, externalName: a.test}"));
    says(&service("{type: ExternalName, ports: [{port: 80}]}"), &["error VK4 spec"]);
}
