"""The certificates of a cluster: one authority, and a key and a kubeconfig per component."""

import base64
import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from diabetes_platform.local.home import write_private

VALID = dt.timedelta(days=30)
USAGES = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of a cluster, which writes keys and certificates into `directory`."""

    directory: Path
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def create(cls, directory: Path) -> "Authority":
        """Create the authority, and a key pair for the tokens of service accounts."""
        directory.mkdir(parents=True, exist_ok=True)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cluster")])
        usage = x509.BasicConstraints(ca=True, path_length=None)
        builder = _builder(name, name, key.public_key()).add_extension(usage, critical=True)
        authority = cls(directory, key, builder.sign(key, hashes.SHA256()))
        authority._write("ca", key, authority.certificate)
        tokens = ec.generate_private_key(ec.SECP256R1())
        write_private(directory / "tokens.key", _private(tokens).decode())
        public = tokens.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        (directory / "tokens.pub").write_bytes(public)
        return authority

    def issue(self, file: str, user: str, *, group: str = "", names: tuple[str, ...] = ()) -> None:
        """Write `file`.key and `file`.crt for a user of a group, or a server with `names`."""
        key = ec.generate_private_key(ec.SECP256R1())
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, user)]
        if group:
            attributes.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
        builder = _builder(
            x509.Name(attributes), self.certificate.subject, key.public_key()
        ).add_extension(x509.ExtendedKeyUsage(USAGES), critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName([_general_name(name) for name in names])
            builder = builder.add_extension(alternatives, critical=False)
        self._write(file, key, builder.sign(self.key, hashes.SHA256()))

    def kubeconfig(self, file: str, server: str, user: str, *, group: str = "") -> Path:
        """Issue a certificate for a user, and return the kubeconfig that contains it."""
        self.issue(file, user, group=group)
        encoded = {
            name: base64.b64encode((self.directory / name).read_bytes()).decode()
            for name in ("ca.crt", f"{file}.crt", f"{file}.key")
        }
        cluster = {"server": server, "certificate-authority-data": encoded["ca.crt"]}
        credentials = {
            "client-certificate-data": encoded[f"{file}.crt"],
            "client-key-data": encoded[f"{file}.key"],
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user}}],
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": user, "user": credentials}],
        }
        path = self.directory / f"{file}.conf"
        write_private(path, yaml.safe_dump(config))
        return path

    def _write(
        self, file: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate
    ) -> None:
        write_private(self.directory / f"{file}.key", _private(key).decode())
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        (self.directory / f"{file}.crt").write_bytes(pem)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        # The clock of a client may be a little behind.
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + VALID)
    )


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
