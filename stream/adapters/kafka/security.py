"""The security settings in the terms of each client library."""

import ssl
from typing import Any

from stream.errors import UsageError
from stream.service_settings import Security


def check_certificates(security: Security) -> None:
    """Raise :class:`UsageError` where a certificate or key cannot be read: libraries say it late, or never."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if security.ca_file:
            context.load_verify_locations(security.ca_file)
    except (OSError, ValueError) as error:
        raise UsageError(f"kafka.security.ca_file: {security.ca_file} holds no certificates: {error}") from error
    try:
        if security.certificate_file:
            # A key with a password and none given would be asked for at the terminal.
            password = security.key_password or ""
            context.load_cert_chain(security.certificate_file, security.key_file, password)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"kafka.security: {security.certificate_file} is no certificate with a key"
            f"{f' in {security.key_file}' if security.key_file else ''}, or key_password does not open it: {error}"
        ) from error


def kafka_python_options(security: Security) -> dict[str, Any]:
    """Return the keyword arguments that kafka-python takes for its consumer, producer and administrator alike.

    >>> kafka_python_options(Security(protocol="SASL_SSL", mechanism="PLAIN", username="scall", ca_file="ca.pem"))
    {'security_protocol': 'SASL_SSL', 'sasl_mechanism': 'PLAIN', 'sasl_plain_username': 'scall', 'ssl_cafile': 'ca.pem'}
    """
    options = {
        "security_protocol": security.protocol,
        "sasl_mechanism": security.mechanism,
        "sasl_plain_username": security.username,
        "sasl_plain_password": security.password,
        "ssl_cafile": security.ca_file,
        "ssl_certfile": security.certificate_file,
        "ssl_keyfile": security.key_file,
        "ssl_password": security.key_password,
        "ssl_check_hostname": None if security.check_hostname else False,
    }
    return {name: value for name, value in options.items() if value is not None}


def librdkafka_options(security: Security) -> dict[str, Any]:
    """Return the same as librdkafka's properties.

    >>> librdkafka_options(Security(protocol="SSL", ca_file="ca.pem", check_hostname=False))
    {'security.protocol': 'SSL', 'ssl.ca.location': 'ca.pem', 'ssl.endpoint.identification.algorithm': 'none'}
    """
    options = {
        "security.protocol": security.protocol,
        "sasl.mechanism": security.mechanism,
        "sasl.username": security.username,
        "sasl.password": security.password,
        "ssl.ca.location": security.ca_file,
        "ssl.certificate.location": security.certificate_file,
        "ssl.key.location": security.key_file,
        "ssl.key.password": security.key_password,
        "ssl.endpoint.identification.algorithm": None if security.check_hostname else "none",
    }
    return {name: value for name, value in options.items() if value is not None}
