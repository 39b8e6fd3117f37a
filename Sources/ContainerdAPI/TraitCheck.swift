#if !Daemons
    #error("the programs for Docker and containerd need the trait Daemons: swift build --traits Daemons, or make")
#endif
