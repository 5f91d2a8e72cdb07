"""The files of docker/, judged without Docker: what they say is compared with the program, and done."""
