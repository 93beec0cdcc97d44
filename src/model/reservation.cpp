#include "model/reservation.hpp"

namespace bai {

std::string session_reservation(const Json& resource_opts, const ResourceGroupName& group) {
  const Json* wanted = resource_opts.find("reservation");
  if (wanted == nullptr || !wanted->is_string() || wanted->as_string().empty()) return {};
  std::string name(wanted->as_string());
  if (name.find('/') != std::string::npos) return name;  // no name has one
  return group.str() + "/" + name;
}

}  // namespace bai
