"""What a guest talks to while it boots: each service has a life, a place on the guests' network, and a log.

service                            what each of them offers
proxied                            one behind a fault proxy
container, container_server        a life in a container
service_image                      what such a container is made of
tang, with tang_*                  Tang
hsm, with hsm_*                    an HSM on the network
held                               what a server of those two holds
kinds                              how the laboratory comes by them
verifier                           a verifier of quotes
keylime, keylime_server            Keylime
"""
