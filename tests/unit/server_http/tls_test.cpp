// The same front over TLS.
#include <doctest/doctest.h>
#include <httplib.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "unit/server_http/test_server.hpp"

using namespace bai;
using namespace bai::http;
using namespace bai::http::test;

namespace {

// A self-signed certificate in files that go away with it.
class Certificate {
 public:
  Certificate()
      : folder_(std::filesystem::temp_directory_path() /
                ("bai-tls-test-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(folder_);
    EVP_PKEY* key = EVP_RSA_gen(2048);
    X509* certificate = X509_new();
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    X509_NAME* name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>("localhost"), -1, -1, 0);
    X509_set_issuer_name(certificate, name);
    X509_sign(certificate, key, EVP_sha256());
    std::FILE* out = std::fopen(certificate_file().c_str(), "wb");
    PEM_write_X509(out, certificate);
    std::fclose(out);
    out = std::fopen(key_file().c_str(), "wb");
    PEM_write_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
    std::fclose(out);
    X509_free(certificate);
    EVP_PKEY_free(key);
  }
  ~Certificate() { std::filesystem::remove_all(folder_); }
  std::string certificate_file() const { return folder_ / "cert.pem"; }
  std::string key_file() const { return folder_ / "key.pem"; }
  std::string folder() const { return folder_; }

 private:
  std::filesystem::path folder_;
};

ServerOptions tls_options(const Certificate& certificate) {
  ServerOptions options;
  options.tls = {certificate.certificate_file(), certificate.key_file()};
  return options;
}

}  // namespace

TEST_CASE("requests, large bodies and streams over TLS") {
  const Certificate certificate;
  TestServer server(tls_options(certificate));
  httplib::SSLClient client("127.0.0.1", server.port());
  client.enable_server_certificate_verification(false);
  client.set_keep_alive(true);
  client.set_tcp_nodelay(true);
  const auto got = client.Get("/echo");
  REQUIRE(got);
  CHECK((*Json::parse(got->body))["secure"].as_bool());
  const auto posted = client.Post("/echo", std::string(5'000'000, 'x'), "text/plain");
  REQUIRE(posted);
  CHECK((*Json::parse(posted->body))["body_bytes"].as_int() == 5'000'000);
  const auto big = client.Get("/big");
  REQUIRE(big);
  CHECK(big->body.size() == 1024 * 1024);
  CHECK(server->counters().accepted == 1);

  std::atomic<int> ended{0};
  std::thread producer([&] {
    const bool held = server.wait_for([&] { return server.held() == 1; });
    CHECK(held);
    if (!held) return;
    StreamWriter writer = server.take_held().stream({});
    writer.on_disconnect([&] { ++ended; });
    for (int i = 0; i < 1000; ++i) writer.write("0123456789");
    writer.close();
  });
  std::size_t streamed = 0;
  const auto events = client.Get("/later", [&](const char*, std::size_t size) {
    streamed += size;
    return true;
  });
  producer.join();
  REQUIRE(events);
  CHECK(streamed == 10'000);
  CHECK(server.wait_for([&] { return ended == 1; }));
  CHECK(client.Get("/echo"));
}

TEST_CASE("a silent TLS stream notices that its client has gone") {
  const Certificate certificate;
  TestServer server(tls_options(certificate));
  std::atomic<int> ended{0};
  StreamWriter writer;
  std::thread producer([&] {
    const bool held = server.wait_for([&] { return server.held() == 1; });
    CHECK(held);
    if (!held) return;
    writer = server.take_held().stream({});
    writer.on_disconnect([&] { ++ended; });
    writer.write("hello");
  });
  {
    httplib::SSLClient client("127.0.0.1", server.port());
    client.enable_server_certificate_verification(false);
    client.Get("/later", [](const char*, std::size_t) { return false; });  // leaves at once
  }
  producer.join();
  CHECK(server.wait_for([&] { return ended == 1; }));
}

TEST_CASE("clients that do not shake hands are closed, plain ones too") {
  const Certificate certificate;
  ServerOptions options = tls_options(certificate);
  options.header_deadline = milliseconds(200);
  TestServer server(options);
  Client silent(server.port());
  Client plain(server.port());
  plain.send(kGet);
  CHECK(plain.wait_closed());
  CHECK(silent.wait_closed());
  CHECK(plain.buffer().find("HTTP/1.1 200") == std::string::npos);
  CHECK(server->counters().requests == 0);
  CHECK(server.wait_for([&] { return server->counters().open_connections == 0; }));
}

TEST_CASE("a TLS server stops with connections open") {
  const Certificate certificate;
  TestServer server(tls_options(certificate));
  httplib::SSLClient client("127.0.0.1", server.port());
  client.enable_server_certificate_verification(false);
  client.set_keep_alive(true);
  REQUIRE(client.Get("/echo"));
  const auto start = std::chrono::steady_clock::now();
  server->stop(seconds(3));
  CHECK(std::chrono::steady_clock::now() - start < std::chrono::seconds(3));
  CHECK(server->counters().open_connections == 0);
}

TEST_CASE("TLS files that cannot be used are named") {
  const Certificate certificate;
  const auto start = [](TlsOptions tls) {
    ServerOptions options;
    options.port = 0;
    options.tls = std::move(tls);
    const auto server = Server::start(options, [](auto, auto) {});
    REQUIRE(!server);
    CHECK(server.error().kind == "bad-tls-file");
    return server.error().message;
  };
  const std::string missing = certificate.folder() + "/none.pem";
  CHECK(start({missing, certificate.key_file()}).find("certificate in '" + missing) !=
        std::string::npos);
  CHECK(start({certificate.certificate_file(), missing}).find("private key in '" + missing) !=
        std::string::npos);
  CHECK(start({certificate.key_file(), certificate.key_file()}).find("certificate") !=
        std::string::npos);
  CHECK(start({certificate.certificate_file(), ""}).find("both") != std::string::npos);
  const Certificate* other = &certificate;
  std::ofstream(other->folder() + "/junk.pem") << "junk";
  CHECK(start({other->certificate_file(), other->folder() + "/junk.pem"}).find("junk.pem") !=
        std::string::npos);
}
